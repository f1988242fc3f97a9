"""DICOM files as somebody's own records: one folder a site, labels in a CSV file, a schema.

For `securefl.data.own.forms`. Only declared fields of a header are used. No name, identifier or
path of a file enters a message; a file's place is its site and its number.
"""
