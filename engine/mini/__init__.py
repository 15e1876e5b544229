"""Run-time code of the embedded model `mini`: its synthetic world, prompts and judge."""
