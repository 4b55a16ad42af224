-- Custom segments in force on D.
select seed.*
from {{ ref('custom_segments') }} as seed
inner join {{ ref('int_run_policy') }} as policy on {{ is_in_force('seed', 'policy.as_of_date') }}
