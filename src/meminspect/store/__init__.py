"""Snapshots on disk: one moment of a process as a folder `NAME.mi` of Parquet tables and a manifest.

schema.py    the tables and their columns, and what they are made from
rebuild.py   models from plain values and from rows
folder.py    the folder: written under another name, given its own at the end, replaced as a whole
write.py     a report and a census to Parquet (pyarrow: never in the process that is measured)
worker.py    the process that writes, for a process that measured itself
read.py      reading a folder of which nothing is believed
query.py     SQL over snapshots, through DuckDB
"""
