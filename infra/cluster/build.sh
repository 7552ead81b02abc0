#!/bin/sh
# build.sh FOLDER: a Kubernetes control plane without a container engine, for `make test-cluster`.
# Builds etcd, kube-apiserver and kube-controller-manager from Go modules and takes the definitions
# of KEDA's and Prometheus's operators from theirs; what is there already stays. Needs Go and
# Python; about ten minutes of two cores the first time.
set -eu
KUBERNETES=v1.34.4
ETCD=v3.6.7
KEDA=v2.21.0
PROMETHEUS_OPERATOR=v0.85.0

mkdir -p "$1/bin" "$1/definitions"
folder=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CGO_ENABLED=0 GOFLAGS=-mod=mod

# The field of a downloaded module's description.
module() {
    go mod download -json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"
}

build() { # name, package, flags of the linker
    echo "building $1" >&2
    go build -trimpath -ldflags "-s -w $3" -o "$folder/bin/$1" "$2"
}

cd "$scratch"
if [ ! -x "$folder/bin/kube-controller-manager" ]; then
    # Kubernetes' own module names its parts by folders; ours names them by their versions.
    go mod init local/cluster 2>/dev/null
    go mod edit -json "$(module "k8s.io/kubernetes@$KUBERNETES" GoMod)" | python3 -c '
import json, sys
theirs = json.load(sys.stdin)
print("-go=" + theirs["Go"])
for entry in theirs["Replace"] or []:
    old, new = entry["Old"]["Path"], entry["New"]
    is_part = new["Path"].startswith("./staging/")
    target = f"{old}@{sys.argv[1]}" if is_part else "{Path}@{Version}".format(**new)
    print(f"-replace={old}={target}")
' "v0.${KUBERNETES#v1.}" | xargs go mod edit "-require=k8s.io/kubernetes@$KUBERNETES"
    flags=""
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        minor=${KUBERNETES#v1.}
        flags="$flags -X $package.gitVersion=$KUBERNETES -X $package.gitMajor=1"
        flags="$flags -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=archive"
    done
    for program in kube-apiserver kube-controller-manager; do
        build "$program" "k8s.io/kubernetes/cmd/$program" "$flags"
    done
    rm -f go.mod go.sum
fi
if [ ! -x "$folder/bin/etcd" ]; then
    go mod init local/etcd 2>/dev/null
    go get "go.etcd.io/etcd/server/v3@$ETCD" 2>/dev/null
    build etcd go.etcd.io/etcd/server/v3 ""
fi
if [ -z "$(ls "$folder/definitions")" ]; then
    keda=$(module "github.com/kedacore/keda/v2@$KEDA" Dir)
    cp "$keda/config/crd/bases/keda.sh_scaledobjects.yaml" "$folder/definitions"
    operator=$(module "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR" Dir)
    cp "$operator/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml" \
        "$folder/definitions"
fi
