"""The studio: a local page over the library. `betabloom studio` opens it; everything it does is a documented route."""
