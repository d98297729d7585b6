//! What a site writes: typed settings, defaults and validation.
