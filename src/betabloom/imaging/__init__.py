"""Arrays in, images out: sheets, PNG files with their records, colours, wallpapers. Imports no model code."""
