"""The source images that results show: their headers, their order, their pixels and grey windows."""
