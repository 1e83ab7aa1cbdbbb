"""The kit for pages: every report of the project is one HTML file made with these templates, charts and formats."""
