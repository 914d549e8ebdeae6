//! What is refused before anything else looks at a head. Pure.
