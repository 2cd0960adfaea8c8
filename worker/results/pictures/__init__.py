"""What results show: slices, the summary page, the one-page document."""
