"""What the domain speaks in: samples, features, rankings, recipes, reports."""
