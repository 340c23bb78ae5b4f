"""The lab's commands, `isthmus lab ...`, loaded by entry point."""
