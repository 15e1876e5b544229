"""What commands print: results, tables and progress."""
