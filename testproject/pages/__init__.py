"""The CMS: pages of Markdown text, and the frame that every page of the site shares."""
