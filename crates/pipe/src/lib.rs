//! Floor 4 of ginnel: pipes between processes that trust each other, and connections between those that need not.
