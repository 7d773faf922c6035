"""What a dataset or a mapping holds, for people: statistics, the catalog, licences and the data card."""
