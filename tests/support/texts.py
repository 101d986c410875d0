"""The alphabet of texts that any encoding of Unicode has."""

from hypothesis import strategies as st

# What `st.text()` draws by default; there, Hypothesis first spends seconds on finding what UTF-8 can encode.
ENCODABLE = st.characters(exclude_categories=["Cs"])
