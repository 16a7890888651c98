"""For other people's frameworks: each module needs only the one that it is named after."""
