"""`job=check cluster=kuberay` asks the cluster itself: a line each for what the job needs of it, with the remedy.

In: the rendered manifest, the config, a kubeconfig. Out: lines on the terminal; whether the job
would fail for certain.
"""
