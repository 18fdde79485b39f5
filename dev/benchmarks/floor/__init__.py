"""The least that any such service must do: answer a request, store a row, send a request, as simply as possible."""
