"""The texts of the report in each language, with numbers, dates and plurals in its format."""
