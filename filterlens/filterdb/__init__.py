"""CNN-Filter-DB: the published data sets of filters (Zenodo 6371680, 6414075), read and written.

One HDF5 file holds the 3x3 filters of hundreds of models in one array, `/filters`, and beside it `/meta`, a table with
one row a convolution: which filters are its own, how deep it lies, which model it belongs to and what is known of that.
`docs/filterdb.md` describes the layout. Nothing here needs a checkpoint, pandas' HDF reader or PyTables.
"""

from __future__ import annotations
