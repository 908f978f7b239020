"""From a diagnosis to a plan, and the one transaction through which a plan changes anything."""
