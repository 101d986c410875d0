"""Values: operation references, snapshots, how they are parsed, and the base of the error tree."""
