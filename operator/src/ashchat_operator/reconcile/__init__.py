"""One reconcile pass of one AshChat: reads, decides, applies and reports."""
