"""Pages of one HTML file each, with their charts, tables and numbers; every report of the project is made with it."""
