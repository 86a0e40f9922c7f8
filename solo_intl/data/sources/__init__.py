"""One module per place images come from; each returns an ImageSource."""
