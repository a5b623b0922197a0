"""What a person reads: report, statistics, trace, plots, terminal. May import the rooms of the stages and below."""
