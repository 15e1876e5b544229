"""What Dailies keeps: the workspace folder, the database in it, and the clips' files. Imports no torch."""
