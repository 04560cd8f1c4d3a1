"""Kinds of labels: their files, their labels from theta_C and from source images, how they are drawn."""
