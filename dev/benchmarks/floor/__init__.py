"""The least that any such service has to do: answer a request, store a row, send a request; each as bare as can be."""
