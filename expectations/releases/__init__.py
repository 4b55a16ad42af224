"""May a release leave? What every published table must hold, judged on the files themselves."""
