"""The report's words in each language, and numbers, dates and plurals in its form."""
