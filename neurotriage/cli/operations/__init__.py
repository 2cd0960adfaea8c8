"""Commands for whoever runs the product from day to day."""
