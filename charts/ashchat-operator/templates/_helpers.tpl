{{- define "ashchat-operator.selector" -}}
app.kubernetes.io/name: ashchat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "ashchat-operator.labels" -}}
{{ include "ashchat-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{/* Selects the operator's pods, not those of the chart's jobs. */}}
{{- define "ashchat-operator.pod-selector" -}}
{{ include "ashchat-operator.selector" . }}
app.kubernetes.io/component: operator
{{- end }}
{{- define "ashchat-operator.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "ashchat-operator.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- define "ashchat-operator.scope" -}}
- name: ASHCHAT_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: ASHCHAT_OPERATOR_EXCLUDE_NAMESPACES
  value: {{ join "," .Values.excludeNamespaces | quote }}
{{- end }}
{{/* Cluster-wide names carry the namespace, so that two releases do not fight over them. */}}
{{- define "ashchat-operator.cluster-name" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}
