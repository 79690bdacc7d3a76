#!/usr/bin/env bash
# HEAD=http://head:8265 bash submit.sh s3://bucket/photos -o s3://bucket/rdo-out --effort 6 --workers 16
#
# Runs rdo-encode as a job of a Ray cluster that is up: it goes on when this terminal is closed, and submitted again it
# does only what is missing. All machines have rdo[cluster,cloud] installed and reach the bucket with the credentials of
# their environment; paths of folders that all of them mount do as well.
#   ray job list --address "$HEAD"             list jobs
#   ray job stop --address "$HEAD" ID          end a job; finished files are kept
set -euo pipefail
: "${HEAD:?set it to the dashboard of the head node, as HEAD=http://head:8265}"
# newer Ray guards a cluster by a token, which a client sends only when told to; `ray get-auth-token --generate` makes one
[ ! -e ~/.ray/auth_token ] || export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
exec ray job submit --address "$HEAD" -- rdo-encode --ray "$@"
