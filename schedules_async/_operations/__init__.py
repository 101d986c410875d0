"""Values: operation references, snapshots, how they are parsed, and the foot of the error tree."""
