"""Facts about sources of slices, by their names in manifests."""

# The other CT sources' tumour-free slices hold bleeds and disease of all sorts, which may rightly score high.
LESION_FREE = ("brainstroke-normal", "headct-normal", "ct_template_head", "ct_template_brain_only")
