"""What a person reads: report, statistics, trace, plots, terminal. Imports the rooms of the data."""
