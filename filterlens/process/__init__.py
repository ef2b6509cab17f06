"""What a process leaves behind: files whole or not at all, nothing after a signal, text that is safe to show."""
