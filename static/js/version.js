// The version of this script: the server writes the digest of a release's markup, styles and scripts
// here when it joins the modules (liveblog/pages/scripts.py).

export const VERSION = '';
