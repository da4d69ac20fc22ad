"""Beside a PACS: a DICOM node that denoises what it is sent, and retrieval through DICOMweb.

Needs ``pip install 'ctdenoise[pacs]'``.
"""
