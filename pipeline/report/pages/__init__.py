"""The pages of the report: templates, and the shapes and tables that are drawn in them."""
