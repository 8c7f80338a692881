"""From profiles to named, described and judged segments."""
