"""Where rows come from: one plugin per exchange behind one connector."""
