{{- define "ashchat-operator.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "ashchat-operator.selector" -}}
app.kubernetes.io/name: ashchat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ashchat-operator.labels" -}}
{{ include "ashchat-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: ashchat
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* What the operator does with the children of an AshChat, in the resource's namespace. */ -}}
{{- define "ashchat-operator.rules" -}}
- apiGroups: [ashchat.dev]
  resources: [ashchats]
  verbs: [get, list, watch]
- apiGroups: [ashchat.dev]
  resources: [ashchats/status]
  verbs: [get, patch, update]
# To set blockOwnerDeletion where the API server asks for the right to (admission plugin
# OwnerReferencesPermissionEnforcement).
- apiGroups: [ashchat.dev]
  resources: [ashchats/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [create, delete, get, list, patch, update, watch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, secrets, services]
  verbs: [create, delete, get, list, patch, update, watch]
# Why a component is not ready.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
