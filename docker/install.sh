#!/bin/sh
# Inside a build: install the pinned packages into /opt/assay and drop what no step reads.
set -eu
if [ -s /host/ca.crt ]; then
  export PIP_CERT=/host/ca.crt
fi
# The lists are complete: pip has nothing to resolve, and kfp comes without what only its compiler needs. A file whose
# hash is not in them is refused.
# shellcheck disable=SC2046 # one option a file, split on purpose
/opt/pip/bin/pip --python /opt/assay/bin/python install --quiet --no-cache-dir --no-deps --require-hashes \
  --disable-pip-version-check $(printf -- '-r %s ' /requirements/*.txt)
cd /opt/assay/lib/python3*/site-packages
# What only compiling needs, and tests of packages that never import them.
rm -rf clang tensorflow/include pyarrow/include pyarrow/tests pandas/tests numpy/*/tests sklearn/tests scipy/*/tests
