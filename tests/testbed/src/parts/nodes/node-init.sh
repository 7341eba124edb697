#!/bin/sh
# Process 1 of one node, in network, mount, process and host name namespaces of its own; when it ends the kernel ends
# everything in them. Owns the node's file system and the start of its programs; reads NODE, ADDRESS, GROUPS_OF_NODE,
# KUBECONFIG and IMAGES from the environment, and its configuration from the folder that it starts in.
set -eu

for group in $GROUPS_OF_NODE; do echo $$ > "$group/cgroup.procs"; done
hostname "$NODE"

# The default paths of every program, but private.
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/containerd
for name in kubelet containerd cni; do
    mkdir -p "$name"
    mount --bind "$name" "/var/lib/$name"
done
mkdir -p pods
mount --bind pods /var/log/pods
mount -t tmpfs tmpfs /var/log/containers
mount -t tmpfs tmpfs /etc/cni
mkdir /etc/cni/net.d
cp pods.conflist /etc/cni/net.d/
mount --make-rshared / # the kubelet passes mounts on to pods

# A node that comes back has no pods: their addresses are free again.
rm -rf /var/lib/cni/networks /var/lib/cni/results

containerd --config containerd.toml >> containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do sleep 0.05; done
if ! [ -e imported ]; then
    for image in $IMAGES; do ctr --namespace k8s.io images import --local "$image" >> import.log 2>&1; done
    touch imported
fi
kubelet --kubeconfig "$KUBECONFIG" --config kubelet.json --node-ip "$ADDRESS" >> kubelet.log 2>&1 &
# Connection tracking belongs to the machine: no limit is set.
kube-proxy --kubeconfig "$KUBECONFIG" --proxy-mode nftables --cluster-cidr "$RANGE" --hostname-override "$NODE" \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0 \
    >> kube-proxy.log 2>&1 &
echo "programs started"
wait # and meanwhile collect the orphans that every process 1 gets
