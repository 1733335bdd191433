"""The domain's vocabulary: samples, features, rankings, recipes, reports."""
