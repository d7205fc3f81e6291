"""What people are told, and how it gets there: the words of the pages, and the client of Alertmanager."""
