"""Crosswalks: from the words of each site to the common words of all sites.

Each site has its own vocabulary for a diagnosis or a level. A crosswalk is a declared table, agreed
by all sites, that names the common word for each of them. It never holds a record.
"""
